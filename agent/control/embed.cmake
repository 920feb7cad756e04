# Puts the interface files into the library `control`, as the texts that introspection serves.
set(CONTROL_FOLDER ${CMAKE_CURRENT_LIST_DIR})
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CONTROL_FOLDER}/net.ipsecd.control.varlink
             ${CONTROL_FOLDER}/org.varlink.service.varlink)
file(READ ${CONTROL_FOLDER}/net.ipsecd.control.varlink CONTROL_INTERFACE)
file(READ ${CONTROL_FOLDER}/org.varlink.service.varlink SERVICE_INTERFACE)
configure_file(${CONTROL_FOLDER}/interface_text.cc.in ${CMAKE_BINARY_DIR}/generated/control_interface_text.cc @ONLY)
target_sources(control PRIVATE ${CMAKE_BINARY_DIR}/generated/control_interface_text.cc)
